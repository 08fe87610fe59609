"""Say what the shop holds, so that a loss shows: rows of every table and a hash over all uploads."""

import hashlib
import json
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Count rows and hash uploads."

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true")

    def handle(self, *args, **options):
        rows = {
            m._meta.model_name: m._default_manager.count() for m in apps.get_app_config("store").get_models()
        }
        files, size, digest = uploads(Path(settings.MEDIA_ROOT))
        found = {**rows, "files": files, "bytes": size, "sha256": digest}
        if options["json"]:
            self.stdout.write(json.dumps(found, sort_keys=True))
            return
        counts = ", ".join(f"{count} {name}s" for name, count in rows.items())
        self.stdout.write(f"{counts}; {files} uploads, {size / 1e6:.0f} MB, sha256 {digest[:12]}")


def uploads(root):
    """Hash names and contents of all files below `root`, in the order of their names."""
    total, size, files = hashlib.sha256(), 0, 0
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(content).digest())
        size += len(content)
        files += 1
    return files, size, total.hexdigest()
