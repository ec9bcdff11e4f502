"""The Funcs of the petstore example."""
