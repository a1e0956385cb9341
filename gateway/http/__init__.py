"""The HTTP faces: Twilio's webhooks, the API for operators, agents and scripts, and the operations endpoints."""
