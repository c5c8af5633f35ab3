# Nomad on one machine, for labs of the platform that runs there too: server and client in one agent, all on loopback.
#   sudo compose/nomad/node-setup.sh                                  the labs' network, its firewall, the kernel's part
#   sudo nomad agent -config compose/nomad/one-machine.hcl            then: NOMAD_ADDR=http://127.0.0.1:4646 datalabs up
# The platform and the containers are on one machine here, so its files need no volume: launcher.nomad_volume stays unset.

data_dir  = "/var/lib/nomad" # keep it short: sockets below it have 108 bytes
bind_addr = "127.0.0.1"

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

disable_update_check = true
leave_on_interrupt   = false # labs outlive the agent
leave_on_terminate   = false

limits {
  http_max_conns_per_client = 0 # all of the launcher's calls come from one address
  rpc_max_conns_per_client  = 0
}

server {
  enabled          = true
  bootstrap_expect = 1

  event_buffer_size       = 10000 # entries of the event stream that a reconnecting launcher still finds
  job_gc_threshold        = "24h" # the launcher may be away for a day and still learn how each lab ended
  eval_gc_threshold       = "24h"
  batch_eval_gc_threshold = "24h"

  default_scheduler_config { # read at the first start only
    scheduler_algorithm             = "spread"
    memory_oversubscription_enabled = false # memory is never promised twice
  }
}

client {
  enabled           = true
  network_interface = "lo"

  host_network "datalabs" { # where labs' ports are published: launcher.nomad_host_network = "datalabs"
    cidr = "127.0.0.1/32"
  }

  meta {
    datalabs_answers_early = "true" # node-setup.sh has run: a port may be asked before its lab is there
  }

  max_kill_timeout        = "5m" # a virtual machine shuts down in its own time
  gc_max_allocs           = 500  # the last lines of an ended lab stay until the launcher has them
  gc_disk_usage_threshold = 90
  min_dynamic_port        = 32000 # beside the labs' ring, which is 20000 to 31999
  max_dynamic_port        = 32700

  # cpu_total_compute = 32000     # a core of a lab is 1000 MHz: promise each core of 2 as often as wanted

  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}

plugin "docker" {
  config {
    allow_privileged   = false
    allow_caps         = [] # labs have no capabilities at all
    pids_limit         = 1024
    image_pull_timeout = "30m"
    extra_labels       = ["job_name", "namespace"]

    volumes {
      enabled = true # labs mount their homes by path: see docs/adr; only the launcher may submit jobs
    }
    gc {
      image     = false # an image that was fetched ahead stays
      container = true
    }
  }
}

plugin "qemu" {
  config {
    image_paths = ["/var/lib/datalabs/machines"] # launcher.nomad_image_disks
    args_allowlist = [
      "-append", "-chardev", "-cpu", "-device", "-enable-kvm", "-fsdev", "-fw_cfg", "-initrd", "-kernel", "-m",
      "-netdev", "-object", "-runas", "-smp", "-snapshot", "-vga", "-vnc",
    ]
  }
}

# plugin "raw_exec" {             # only for launcher.nomad_allow_raw_exec: disks of virtual machines that are kept
#   config { enabled = true }
# }

telemetry {
  prometheus_metrics         = true
  publish_allocation_metrics = true
  publish_node_metrics       = true
}
