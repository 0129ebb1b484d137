"""What vulture cannot see being used, by who uses it. Read by vulture alone (pyproject.toml); never run."""

# click asks a group of commands, locust a user and its module.
_.get_command
_.convert
_.format_commands
_.on_start
_.WORKER_REPORT_INTERVAL
_.MASTER_HEARTBEAT_TIMEOUT
# pydantic writes these fields by methods that are named nowhere, and they are read from files that people write.
_._off
_._everywhere
_._briefly
_.description
# enum calls a member's value so.
_._value_
# Python calls them, of an exception that it drops and at its end.
_.unraisablehook
remove_all
# Libraries read what is set on their objects: kubernetes, paramiko, ruamel.yaml, tarfile, zipfile.
_.auth_timeout
_.banner_timeout
_.channel_timeout
_.api_key
_.ssl_ca_cert
_.default_flow_style
_.warn_double_anchors
_.linkname
_.create_system
_.external_attr
# Programs that run on the node import these by name (agent/serve.py, refproxy/__main__.py).
await_
await_all
exchange
talk
hang_up
IpvsPlane
UserspacePlane
# Values that only a file, a manifest or a person names.
_.BACKPORTS
_.ALL
_.NFT
_.NODE
_.LOAD_BALANCER_IP
_.UDP
_.FAR
_.KUBE_APISERVER
_.KUBE_CONTROLLER_MANAGER
_.proxybench
_.baseline_schema
# Keys of JSON: what `go` prints of a module, and what goes to the node's agent.
_.Version
_.Old
_.New
_.Value
_.GoDebug
_.Replace
_.interval_us
_.max_interval_fraction
_.quiet_ms
_.settle_ms
# What the agent tells of its own work, for the tests of the agent: who answered, each acknowledgement, a cgroup's end.
_.answered_by
_.write_start_ns
_.acks_ns
_.cgroup_removed
# Read by docs and tests: the table of metrics, a figure's words for those who do not see it.
_.direction
_.alt
# rich calls it when nobody reads on.
_.on_broken_pipe
# pydantic checks these fields of the API's objects (targets/lab/apiserver/validation.py).
_.resource_version
_.timeout_seconds
_.client_ip
_.cluster_ips
_.session_affinity
_.session_affinity_config
_.external_traffic_policy
_.internal_traffic_policy
_.load_balancer_source_ranges
_.health_check_node_port
_.load_balancer
_.terminating
_.conditions
_.zone
_.not_ready_addresses
_.pod_cidrs

# Settings of a shlex.shlex, which reads them.
_.whitespace_split
_.commenters
_.escapedquotes
