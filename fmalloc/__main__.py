"""python -m fmalloc: the command fmalloc."""

from fmalloc_shared.commands.verbs import main

if __name__ == "__main__":
    main(prog_name="fmalloc")
