"""From tallies to an honest comparison of the arms: readings, effects, health checks and a verdict in words.

Pure: sums come in, values go out; the cost is the number of cells, whatever the number of calls. `study` and `cells`
are light; what computes (`evaluating` and all below it) brings numpy and scipy, and is imported only when results are
asked for.
"""
