"""Read-only views of recipes, graphs and libraries: text, schema, pictures."""
