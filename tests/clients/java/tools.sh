# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced after install.sh: `tools ARGUMENT...` compiles Tools.java when it is new, and runs it.
need java javac mvn

compile_tools()
{
    javac -d "$folder/classes" -cp "$class_path" -Werror "$here/Tools.java"
}

java_main()
{
    java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dlog4j2.configurationFile="$lib/kafka/log4j2.xml" -Dweir.log=ERROR \
        -cp "$folder/classes:$class_path" "$@"
}

tools()
{
    class_path=$("$lib/kafka-broker" classpath)
    install_once java "$here/Tools.java" "$lib/kafka/pom.xml" compile_tools
    java_main Tools "$@"
}
