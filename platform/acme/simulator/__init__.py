"""The mine's source systems on a laptop: deterministic by seed, with known truth beside them."""

import warnings

# The Postgres wheel asks where sockets go, and warns on machines without a login session.
warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
