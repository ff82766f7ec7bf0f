"""What Beam's runners may be told in YAML: their options, as Beam 2.77 names them."""

from collections.abc import Iterable
from difflib import get_close_matches

from malacate.errors import ConfigError

OPTIONS = {
    "DirectOptions": """
        direct_embed_docker_python direct_num_workers direct_runner_bundle_repeat
        direct_runner_use_stacked_bundle direct_running_mode direct_test_splits""",
    "GoogleCloudOptions": """
        dataflow_endpoint dataflow_kms_key dataflow_service_options enable_artifact_caching
        enable_bucket_read_metric_counter enable_bucket_write_metric_counter
        enable_gcsio_blob_generation enable_hot_key_logging flexrs_goal gcp_oauth_scopes
        gcs_custom_audit_entries impersonate_service_account job_name labels no_auth
        no_gcsio_throttling_counter project region service_account_email staging_location
        temp_location""",
    "WorkerOptions": """
        autoscaling_algorithm default_sdk_harness_log_level disk_provisioned_iops
        disk_provisioned_throughput_mibps disk_size_gb disk_type element_processing_timeout_minutes
        machine_type max_cache_memory_usage_mb max_num_workers min_cpu_platform network num_workers
        sdk_container_image sdk_harness_container_image_overrides sdk_harness_log_level_overrides
        subnetwork use_public_ips worker_harness_container_image worker_region worker_zone zone""",
    "DebugOptions": "dataflow_job_file experiments number_of_worker_harness_threads",
    "SetupOptions": """
        beam_plugins cloud_build_machine_type docker_registry_push_url extra_packages files_to_stage
        gbek maven_repository_url prebuild_sdk_container_base_image prebuild_sdk_container_engine
        requirements_cache requirements_cache_only_sources requirements_file sdk_location setup_file
        user_agent""",
    "PortableOptions": """
        artifact_endpoint environment_cache_millis environment_config environment_options
        environment_type job_endpoint job_server_timeout sdk_worker_parallelism""",
    "JobServerOptions": """
        artifact_port artifacts_dir expansion_port jar_cache_dir job_port job_server_java_launcher
        job_server_jvm_properties""",
    "FlinkRunnerOptions": """
        flink_job_server_jar flink_master flink_submit_uber_jar flink_version max_parallelism
        parallelism""",
    "SparkRunnerOptions": """
        spark_job_server_jar spark_master_url spark_rest_url spark_submit_uber_jar spark_version""",
}
"""By the class that Beam has them in."""

REFUSED = (
    "create_from_snapshot", "enable_streaming_engine", "output_executable_path", "pickle_library",
    "save_main_session", "template_location", "transform_name_mapping", "update",
)  # fmt: skip
"""Those of streams, those that write a job down in place of doing it, those that are ours."""

_ANYWHERE = ("SetupOptions", "DebugOptions")
_PORTABLE = (*_ANYWHERE, "PortableOptions", "JobServerOptions")
RUNNERS = {
    "DirectRunner": ("DirectOptions",),
    "DataflowRunner": (*_ANYWHERE, "GoogleCloudOptions", "WorkerOptions"),
    "FlinkRunner": (*_PORTABLE, "FlinkRunnerOptions"),
    "SparkRunner": (*_PORTABLE, "SparkRunnerOptions"),
}
"""The runners, each with the classes of its options."""


def require_known(runner: str, options: Iterable[str], source: str) -> None:
    """Raise ``ConfigError`` for a runner, or an option of it, that Beam does not know."""
    if runner not in RUNNERS:
        raise _unknown(f"there is no runner {runner!r}", runner, [*RUNNERS], source)
    known = sorted(name for of in RUNNERS[runner] for name in OPTIONS[of].split())
    for name in options:
        if name not in known:
            raise _unknown(f"{runner} has no option {name!r} here", name, known, source)


def _unknown(what: str, name: str, known: list[str], source: str) -> ConfigError:
    near = get_close_matches(name, known, 1)
    return ConfigError(
        what,
        f"Did you mean {near[0]!r}?" if near else "Use one of those that are expected.",
        source=source,
        expected=", ".join(known),
        actual=name,
        reason="unknown_option",
    )
