// On a narrow screen the navigation scrolls by itself; the place where one is comes into view.
document.querySelector(".side [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
