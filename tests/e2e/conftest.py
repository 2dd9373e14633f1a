"""Makes the running engine's fixtures known to the tests of this folder."""

from fix_engine import api, api_log, base_url, caller, callers, module_settings, worker

__all__ = ["api", "api_log", "base_url", "caller", "callers", "module_settings", "worker"]
