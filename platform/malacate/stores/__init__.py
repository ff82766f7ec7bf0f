"""Where drops stand: a folder or a bucket, behind one protocol. Says nothing of tables."""
