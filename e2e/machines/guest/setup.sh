#!/bin/sh
# What this machine is, as its firmware tells it: name, API server, Pod addresses, identity. Runs at each boot,
# before containerd and kubelet.
set -eu
modprobe qemu_fw_cfg
told=/sys/firmware/qemu_fw_cfg/by_name/opt/rerail
cat $told/kubeconfig/raw > /etc/kubernetes/kubelet.conf
cat $told/ca/raw > /etc/kubernetes/ca.crt
cat $told/node/raw > /run/node.env
. /run/node.env
hostname "$NODE"
# kubelet looks its own name up at every status.
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NODE" > /etc/hosts
cat > /etc/cni/net.d/10-rerail.conflist <<EOF
{
  "cniVersion": "0.4.0",
  "name": "rerail",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
      "ipam": {
        "type": "host-local", "ranges": [[{ "subnet": "$POD_CIDR" }]], "routes": [{ "dst": "0.0.0.0/0" }]
      }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
EOF
# There is no kube-proxy: the one Service that Pods ask is the API server, which the host has.
rule() {
  chain=$1
  shift
  iptables -w -t nat -C "$chain" "$@" 2> /dev/null || iptables -w -t nat -A "$chain" "$@"
}
for chain in PREROUTING OUTPUT; do
  rule $chain -d "$API_SERVICE" -p tcp --dport 443 -j DNAT --to-destination "$API_HOST:$API_PORT"
done
rule POSTROUTING -d "$API_HOST" -j MASQUERADE
sysctl -q -w net.ipv4.ip_forward=1
# What has crashed stays down. kubelet sets kernel.panic to 10 unless it reads that it is: it is shown a file.
if ! grep -qs 10 /proc/sys/kernel/panic; then
  echo 10 > /run/kernel.panic
  mount --bind /run/kernel.panic /proc/sys/kernel/panic
fi
