"""BigQuery's Storage Read API over the proxy: bqemulator's own, which has no results of queries.

The service keeps a result as a hidden table, which a read session is opened on; the emulator only
tells its name. Here it is made when a session asks for it, by the same query, run once more.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage import CreateReadSessionRequest
from platform_tests.emulators.bigquery_proxy import Proxy
from platform_tests.emulators.parts import BigQuery

_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
HIDDEN = "_bqemu_anonymous"
_CREATE = "/google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession"


class Storage(grpc.GenericRpcHandler):
    """Passes each call on as it is; ``sessions`` are the tables that were asked for."""

    def __init__(self, server: BigQuery, proxy: Proxy) -> None:
        self.url = ""
        self.sessions: list[str] = []
        self._server = server
        self._proxy = proxy
        self._channel = grpc.insecure_channel(server.grpc, _ANY_SIZE)
        self._lock = threading.Lock()
        self._refused: grpc.StatusCode | None = None

    def refuse(self, code: grpc.StatusCode | None) -> None:
        """Answer every session so from now on; ``None``: as it should be."""
        self._refused = code

    def service(self, called: grpc.HandlerCallDetails) -> Any:
        if called.method == _CREATE:
            return grpc.unary_unary_rpc_method_handler(self._session)
        rows = self._channel.unary_stream(called.method)
        return grpc.unary_stream_rpc_method_handler(lambda asked, _: rows(asked))

    def _session(self, asked: bytes, context: grpc.ServicerContext) -> Any:
        if self._refused is not None:
            context.abort(self._refused, "as asked for")
        path = CreateReadSessionRequest.deserialize(asked).read_session.table
        _, project, _, dataset, _, table = path.split("/")
        with self._lock:
            if dataset == HIDDEN and path not in self.sessions:
                self._keep(project, table)
            self.sessions.append(path)
        try:
            return self._channel.unary_unary(_CREATE)(asked)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _keep(self, project: str, table: str) -> None:
        """Make the result of a query the table that the emulator says it is."""
        found = self._proxy.query_of(project, table)
        if found is None:
            return
        client = bigquery.Client(
            project, AnonymousCredentials(), client_options={"api_endpoint": self._server.url}
        )
        client.create_dataset(HIDDEN, exists_ok=True)
        config = bigquery.QueryJobConfig.from_api_repr({"query": found})
        sql = f"create table `{project}`.`{HIDDEN}`.`{table}` as {found['query']}"
        client.query(sql, job_config=config).result()


@contextmanager
def serving(server: BigQuery, proxy: Proxy) -> Iterator[Storage]:
    """The API for what is asked of ``server`` by ``proxy``, on a free port of loopback."""
    storage = Storage(server, proxy)
    front = grpc.server(ThreadPoolExecutor(16), options=_ANY_SIZE)
    front.add_generic_rpc_handlers([storage])
    storage.url = f"127.0.0.1:{front.add_insecure_port('127.0.0.1:0')}"
    front.start()
    try:
        yield storage
    finally:
        front.stop(None).wait()
        storage._channel.close()
