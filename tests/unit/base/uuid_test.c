/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include "base/random.h"
#include "tests/lib/test.h"

static void known_texts(void **state)
{
    (void)state;
    char text[UUID_TEXT_SIZE];
    struct uuid uuid = {{0}};
    uuid_format(&uuid, text);
    assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAA");
    assert_true(uuid_is_zero(&uuid));
    memset(uuid.bytes, 0xff, sizeof(uuid.bytes));
    uuid_format(&uuid, text);
    assert_string_equal(text, "_____________________w");
    for (uint8_t i = 0; i < 16; i++) {
        uuid.bytes[i] = i;
    }
    uuid_format(&uuid, text);
    assert_string_equal(text, "AAECAwQFBgcICQoLDA0ODw");
}

static void texts_come_back(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 11);
    for (size_t i = 0; i < 1000; i++) {
        char text[UUID_TEXT_SIZE];
        struct uuid uuid;
        struct uuid parsed;
        random_uuid(&random, uuid.bytes);
        uuid_format(&uuid, text);
        assert_true(uuid_parse(&parsed, text));
        assert_true(uuid_equal(&uuid, &parsed));
    }
}

static void wrong_texts_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "AAECAwQFBgcICQoLDA0OD",
        "AAECAwQFBgcICQoLDA0ODwA",
        "AAECAwQFBgcICQoLDA0OD+",
        "AAECAwQFBgcICQoLDA0OD=",
        " AECAwQFBgcICQoLDA0ODw",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct uuid uuid;
        assert_false(uuid_parse(&uuid, wrong[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(wrong_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
