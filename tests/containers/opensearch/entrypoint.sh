# Starts OpenSearch as the official image does: a variable whose name has a dot becomes a setting.
# The security plugin is not in this image, so its settings are left out.
set --
while IFS='=' read -r name value; do
    case $name in
        plugins.security.* | *[!a-z0-9_.]*) ;;
        *.*) set -- "$@" "-E$name=$value" ;;
    esac
done <<VARIABLES
$(env)
VARIABLES
# shellcheck disable=SC2086 (one word per option)
exec /opt/jdk/bin/java @/usr/share/opensearch/java-arguments ${OPENSEARCH_JAVA_OPTS:--Xms1g -Xmx1g} org.opensearch.bootstrap.OpenSearch "$@"
