# $1 is 0 when the last version goes.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now logferry.service >/dev/null 2>&1 || :
fi
exit 0
