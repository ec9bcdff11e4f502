"""One Func: a plain function whose parameters are those of the operation."""


def greet(name, times):
    """Return the greeting; what is wrong with the parameters was refused before this is called."""
    print(f"greeting {name}")
    return {"greeting": " ".join([f"Hello, {name}!"] * times), "times": times}
