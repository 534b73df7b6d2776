# $1 is 1 at the first installation, more at an upgrade. Starts nothing that did not run before.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -gt 1 ]; then
        systemctl try-restart logferry.service >/dev/null 2>&1 || :
    fi
fi
if [ "$1" -eq 1 ]; then
    echo "logferry: name your brokers in /etc/logferry/logferry.yaml, try it with 'logferry check', then 'systemctl enable --now logferry'"
fi
exit 0
