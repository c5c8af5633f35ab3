# All that the launcher may do. A namespace of its own, a policy, a token in a file that only the launcher reads:
#   nomad namespace apply -description "Labs" labs
#   nomad acl policy apply -description "Open Datalabs launcher" datalabs-launcher compose/nomad/launcher.hcl
#   nomad acl token create -name datalabs-launcher -policy datalabs-launcher      -> launcher.nomad_token_file
# Nobody else should hold submit-job here: a job that mounts by path is as mighty as root on the machines.

namespace "labs" {
  capabilities = ["list-jobs", "read-job", "submit-job", "read-logs", "alloc-lifecycle"]

  variables {
    path "nomad/jobs/*" {
      capabilities = ["write", "read", "list", "destroy"]
    }
  }
}

host_volume "datalabs" {
  policy = "write"
}

node {
  policy = "read"
}
