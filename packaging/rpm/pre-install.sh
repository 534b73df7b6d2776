# Before unpacking: files below belong to the group.
getent group logferry >/dev/null || groupadd --system logferry
getent passwd logferry >/dev/null || useradd --system --gid logferry --home-dir /var/lib/logferry --no-create-home --shell /sbin/nologin --comment "logferry log shipping" logferry
exit 0
