# A server of the cluster; run three, each with its own name and address. Certificates: `nomad tls ca create`, then
# `nomad tls cert create -server -region global`. After the first start: `nomad acl bootstrap`, launcher.hcl (below).

name      = "server-1"
data_dir  = "/var/lib/nomad"
bind_addr = "0.0.0.0"

advertise {
  http = "{{ GetPrivateIP }}"
  rpc  = "{{ GetPrivateIP }}"
  serf = "{{ GetPrivateIP }}"
}

disable_update_check = true
leave_on_interrupt   = false
leave_on_terminate   = false

limits {
  http_max_conns_per_client = 400 # each launcher holds one stream and up to eight calls
}

server {
  enabled          = true
  bootstrap_expect = 3

  server_join {
    retry_join = ["server-1.example.org", "server-2.example.org", "server-3.example.org"]
  }

  event_buffer_size       = 10000
  job_gc_threshold        = "24h"
  eval_gc_threshold       = "24h"
  batch_eval_gc_threshold = "24h"

  default_scheduler_config {
    scheduler_algorithm             = "spread"
    memory_oversubscription_enabled = false
  }
}

acl {
  enabled = true
}

tls {
  http = true
  rpc  = true

  ca_file   = "/etc/nomad.d/tls/nomad-agent-ca.pem"
  cert_file = "/etc/nomad.d/tls/global-server-nomad.pem"
  key_file  = "/etc/nomad.d/tls/global-server-nomad-key.pem"

  verify_server_hostname = true
  verify_https_client    = false # the launcher shows its token; true where it has launcher.nomad_client_cert too
}

telemetry {
  prometheus_metrics = true
}
