#!/usr/bin/env bash
# Two virtual SLURM nodes on this machine's loopback, for tests: real daemons without systemd and cgroups, GPUs that
# exist on paper only. Needs root and Debian's slurm-wlm and munge.
#   slurm/test_cluster.sh start FOLDER   begins the daemons; their state, logs and process ids lie in FOLDER
#   slurm/test_cluster.sh stop FOLDER    ends exactly these
#   slurm/test_cluster.sh env FOLDER     the variables with which sbatch, squeue … reach them
set -euo pipefail

usage() { echo "usage: $0 start|stop|env FOLDER" >&2; exit 2; }
[ $# = 2 ] || usage
command=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
nodes=2
port=${SLURM_TEST_PORT:-26817}  # of the controller; node i listens on port + i
export SLURM_CONF=$folder/slurm.conf

write_configuration() {
  mkdir -p "$folder"/{state,munge,log}
  chmod 755 "$folder"
  chmod 700 "$folder/munge"
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
  cat >"$SLURM_CONF" <<CONF
ClusterName=pixelcnn-lit-test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
MinJobAge=3600
KillWait=20
SlurmdParameters=config_overrides
GresTypes=gpu
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MailProg=/bin/true
CONF
  : >"$folder/gres.conf"
  for i in $(seq "$nodes"); do
    echo "NodeName=node$i NodeHostname=node$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=2 RealMemory=64000" \
      "Gres=gpu:2 State=UNKNOWN" >>"$SLURM_CONF"
    echo "NodeName=node$i Name=gpu File=/dev/null,/dev/zero" >>"$folder/gres.conf"
  done
  echo "PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO" >>"$SLURM_CONF"
}

start() {
  write_configuration
  munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
  chmod 711 "$folder/munge"
  slurmctld -f "$SLURM_CONF"
  for i in $(seq "$nodes"); do
    mkdir -p "$folder/spool-node$i"
    slurmd -f "$SLURM_CONF" -N "node$i"
  done
  for _ in $(seq 120); do
    [ "$(sinfo -h -t idle -o %D)" = "$nodes" ] && return
    sleep 0.5
  done
  echo "the nodes did not come up; see $folder/log" >&2
  exit 1
}

stop() {
  scancel --full --user root 2>/dev/null || true
  sleep 1
  for file in "$folder"/slurmd-*.pid "$folder/slurmctld.pid" "$folder/munge/pid"; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
  done
}

case $command in
  start | stop) "$command" ;;
  # the nodes' names do not resolve, so the address at which the processes meet has to be said
  env) printf 'SLURM_CONF=%s\nMASTER_ADDR=127.0.0.1\n' "$SLURM_CONF" ;;
  *) usage ;;
esac
