# A machine that runs labs. Before its first start: node-setup.sh, and the shared files mounted where `host_volume` says,
# at the same path on every machine and on that of the platform's storage service.

data_dir  = "/var/lib/nomad"
bind_addr = "0.0.0.0"

advertise {
  http = "{{ GetPrivateIP }}"
  rpc  = "{{ GetPrivateIP }}"
  serf = "{{ GetPrivateIP }}"
}

disable_update_check = true
leave_on_interrupt   = false # labs outlive the agent
leave_on_terminate   = false

client {
  enabled   = true
  node_pool = "default"
  # node_class = "gpu"            # a size may ask for it by name

  server_join {
    retry_join = ["server-1.example.org", "server-2.example.org", "server-3.example.org"]
  }

  # The network that the edge reaches, and labs must not: launcher.nomad_host_network = "datalabs".
  host_network "datalabs" {
    cidr = "10.20.0.0/16"
  }

  # The shared files: launcher.nomad_volume = "datalabs". A machine where they are not mounted does not start its agent,
  # so no lab ever begins with an empty home.
  host_volume "datalabs" {
    path      = "/srv/datalabs"
    read_only = false
  }

  meta {
    datalabs_answers_early = "true"
  }

  reserved { # for the machine itself
    cpu    = 1000
    memory = 2048
    disk   = 10240
  }

  # cpu_total_compute = 32000     # a core of a lab is 1000 MHz

  max_kill_timeout        = "5m"
  gc_max_allocs           = 500
  gc_disk_usage_threshold = 90
  min_dynamic_port        = 32000
  max_dynamic_port        = 32700
}

plugin "docker" {
  config {
    allow_privileged   = false
    allow_caps         = []
    pids_limit         = 1024
    image_pull_timeout = "30m"
    extra_labels       = ["job_name", "namespace"]

    volumes {
      enabled = true
    }
    gc {
      image     = false
      container = true
    }
  }
}

plugin "qemu" {
  config {
    image_paths = ["/srv/datalabs/machines"]
    args_allowlist = [
      "-append", "-chardev", "-cpu", "-device", "-enable-kvm", "-fsdev", "-fw_cfg", "-initrd", "-kernel", "-m",
      "-netdev", "-object", "-runas", "-smp", "-snapshot", "-vga", "-vnc",
    ]
  }
}

acl {
  enabled = true
}

tls {
  http = true
  rpc  = true

  ca_file   = "/etc/nomad.d/tls/nomad-agent-ca.pem"
  cert_file = "/etc/nomad.d/tls/global-client-nomad.pem"
  key_file  = "/etc/nomad.d/tls/global-client-nomad-key.pem"

  verify_server_hostname = true
}

telemetry {
  prometheus_metrics         = true
  publish_allocation_metrics = true
  publish_node_metrics       = true
}
