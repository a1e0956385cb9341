"""The only place that knows SQL: one schema and one statement per need, on SQLite and PostgreSQL."""
