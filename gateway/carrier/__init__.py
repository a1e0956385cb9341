"""Everything the gateway knows of Twilio's wire: what it posts, how it signs, and its REST API.

Only gateway values cross this wall: forms become ``model.Call``, and a signature becomes yes or no.
"""
