from platform_tests.company import instance, shop

__all__ = ["instance", "shop"]
