"""Keys and values as files, and back: export and import. It knows the server's databases and types, and no socket.

from flin.transfer import export_to, import_from

export_to(db, "data.ndjson")
import_from(other, "data.ndjson")
"""

from flin.transfer.files import Form, Imported, export_to, import_from

__all__ = ["Form", "Imported", "export_to", "import_from"]
