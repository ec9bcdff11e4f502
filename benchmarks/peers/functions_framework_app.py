"""The bench's `greet` for functions-framework, which knows no spec: the two parameters are checked by hand."""

from flask import jsonify


def serve(request):
    name = request.args.get("name", "")
    times = request.args.get("times", "1")
    if not 1 <= len(name) <= 50 or not times.isdigit() or not 1 <= int(times) <= 10:
        return jsonify(title="Bad Request", status=400), 400
    return jsonify(greeting=", ".join([f"Hello {name}"] * int(times)))
