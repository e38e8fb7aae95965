"""Templates of self-contained pages."""

import jinja2


def templates_of(package: str) -> jinja2.Environment:
    """Return the templates in a package's folder `templates`. Values are escaped; a missing value is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
