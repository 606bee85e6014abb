"""``python -m unrolled_service`` is ``unrolled serve``."""

from unrolled_service.cli import serve

if __name__ == "__main__":
    serve(prog_name="unrolled serve")
