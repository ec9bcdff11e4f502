"""Funcs that compute: a Func keeps nothing between calls, in memory or in files; what lasts belongs in a database."""

from dataclasses import dataclass

from slugify import slugify

from funcatron import Problem, Response


@dataclass(frozen=True)
class Kind:
    """A kind of pet; dataclasses become JSON objects."""

    kind: str
    years: float


KINDS = {each.kind: each for each in (Kind("cat", 6.0), Kind("dog", 7.0), Kind("rabbit", 8.0), Kind("tortoise", 0.7))}


def search(limit):
    """All kinds."""
    return sorted(KINDS.values(), key=lambda each: each.kind)[:limit]


def get(kind):
    """One kind; what is raised as a Problem becomes an answer with that status."""
    if kind not in KINDS:
        raise Problem(404, detail=f"there is no kind {kind!r}", known=sorted(KINDS))
    return KINDS[kind]


async def post(body, context):
    """Welcome a pet. The spec has checked the body; `context` is passed because it is asked for."""
    kind = get(body.get("kind", "dog"))
    context.logger.info("welcome, %s", body["name"])
    slug = slugify(body["name"])
    answer = {**body, "kind": kind.kind, "slug": slug, "human_age": round(body["age"] * kind.years, 1)}
    return Response(answer, 201, {"Location": f"/pets/1.0/pets/{kind.kind}"})


def delete(kind):
    """Nothing to delete: None is 204."""
    get(kind)
