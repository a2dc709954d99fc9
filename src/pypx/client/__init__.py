"""The service class user: echo, find, move and store, each over an association of ours."""
