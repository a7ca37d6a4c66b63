#!/bin/sh
# Compiles the crates of this workspace, and no others, with the bugs of rerail_core::mutants in them.
exec "$@" --cfg mutants
