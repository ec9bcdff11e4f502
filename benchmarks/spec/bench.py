"""The functions of the bench's spec. The same file runs under Funcatron and under Connexion."""


def greet(name, times=1):
    return {"greeting": ", ".join([f"Hello {name}"] * times)}


def order(body):
    return {"customer": body["customer"], "sum": sum(line["quantity"] * line["price"] for line in body["lines"])}


def blob(body):
    return body
