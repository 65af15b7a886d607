#!/usr/bin/env bash
# Certificates for Ray with TLS: an authority in FOLDER, unless it has one, and a certificate by it for one host.
#   cluster/certificates.sh FOLDER              the authority alone: once, where `ray up` is run
#   cluster/certificates.sh FOLDER ADDRESS...   on each host, with the authority there: its addresses
# Leaves ca.crt, ca.key, host.crt, host.key. Who has ca.key can make hosts of this cluster: it is as secret as the token.
set -euo pipefail
umask 077
folder=$1
shift
mkdir -p "$folder"
cd "$folder"
if [ ! -e ca.key ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 730 \
    -subj "/CN=showwork" -keyout ca.key.new -out ca.crt 2>/dev/null
  mv ca.key.new ca.key
fi
chmod 600 ./*
[ $# -gt 0 ] || exit 0
names="DNS:localhost,DNS:$(hostname)"
for address in "$@"; do names="$names,IP:$address,DNS:$address"; done
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=showwork host" \
  -keyout host.key -out host.csr 2>/dev/null
openssl x509 -req -in host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 730 \
  -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names") -out host.crt 2>/dev/null
rm host.csr
