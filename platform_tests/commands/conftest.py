from platform_tests.company import instance, malacate, shop

__all__ = ["instance", "malacate", "shop"]
