/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/test.h"

struct output {
    struct diag diag;
    char buffer[4096];
    int read_end;
    char text[8192];
};

static void output_open(struct output *output, size_t buffer_size)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    output->read_end = ends[0];
    diag_init(&output->diag, ends[1], 3, DIAG_INFO, output->buffer, buffer_size);
    output->diag.wall_ms = INT64_C(1769860800123); /* 2026-01-31T12:00:00.123Z */
}

/* Everything written, and the end of it. */
static const char *output_close(struct output *output)
{
    diag_flush(&output->diag);
    diag_flush(&output->diag);
    close(output->diag.file);
    ssize_t size = read(output->read_end, output->text, sizeof(output->text) - 1);
    assert_true(size >= 0);
    output->text[size] = 0;
    close(output->read_end);
    return output->text;
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text != 0; text++) {
        count += *text == '\n';
    }
    return count;
}

static void a_line_is_logfmt(void **state)
{
    (void)state;
    struct output output;
    output_open(&output, sizeof(output.buffer));
    diag_line(&output.diag, DIAG_WARN, "base/pages", "share is spent", "size=%d share=\"%s\"", 7,
              "cache");
    diag_line(&output.diag, DIAG_DEBUG, "base/pages", "not shown", NULL);
    output.diag.core = -1;
    diag_line(&output.diag, DIAG_ERROR, "base/ring", "no fields", NULL);
    assert_string_equal(
        output_close(&output),
        "time=2026-01-31T12:00:00.123Z level=warn core=3 at=base/pages event=\"share is spent\" "
        "size=7 share=\"cache\"\n"
        "time=2026-01-31T12:00:00.123Z level=error at=base/ring event=\"no fields\"\n");
}

static void bursts_are_held_back(void **state)
{
    (void)state;
    struct output output;
    output_open(&output, sizeof(output.buffer));
    for (int i = 0; i < DIAG_BURST + 5; i++) {
        diag_line(&output.diag, DIAG_INFO, "a", "often", "i=%d", i);
    }
    diag_line(&output.diag, DIAG_INFO, "b", "often", "i=%d", 0); /* another place */
    output.diag.wall_ms += 1000;
    diag_line(&output.diag, DIAG_INFO, "a", "often", "i=%d", 99);
    const char *text = output_close(&output);
    assert_int_equal(count_lines(text), DIAG_BURST + 2);
    assert_non_null(strstr(text, "at=a event=\"often\" held=5 i=99\n"));
}

static void what_does_not_fit_is_counted(void **state)
{
    (void)state;
    struct output output;
    output_open(&output, 256);
    diag_line(&output.diag, DIAG_INFO, "a", "first", NULL);
    diag_line(&output.diag, DIAG_INFO, "a", "second", "text=\"%0200d\"", 1);
    diag_line(&output.diag, DIAG_INFO, "a", "third", NULL);
    const char *text = output_close(&output);
    assert_int_equal(count_lines(text), 3);
    assert_null(strstr(text, "second"));
    assert_non_null(strstr(text, "event=\"lines dropped\" count=1 "));
}

static void many_sites_in_one_second(void **state)
{
    (void)state;
    struct output output;
    char events[3 * DIAG_SITES][16];
    output_open(&output, sizeof(output.buffer));
    output.diag.file = -1;
    diag_line(&output.diag, DIAG_INFO, "a", "swallowed", NULL);
    assert_int_equal(output.diag.size, 0);
    output.diag.file = open("/dev/null", O_WRONLY);
    for (size_t i = 0; i < 3 * DIAG_SITES; i++) {
        snprintf(events[i], sizeof(events[i]), "event %zu", i);
        for (size_t j = 0; j < DIAG_BURST + 1; j++) {
            diag_line(&output.diag, DIAG_INFO, "a", events[i], NULL);
            diag_flush(&output.diag);
        }
    }
    assert_int_equal(output.diag.size, 0);
    close(output.diag.file);
    close(output.read_end);
}

static void untrusted_text_is_escaped(void **state)
{
    (void)state;
    char out[16];
    assert_string_equal(diag_escape(out, sizeof(out), "a\"b\n\xff", 5), "a\\x22b\\x0a\\xff");
    assert_string_equal(diag_escape(out, 6, "ab\"c", 4), "ab");
    assert_string_equal(diag_escape(out, 1, "ab", 2), "");
    assert_string_equal(diag_escape(out, sizeof(out), "", 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_logfmt),
        cmocka_unit_test(bursts_are_held_back),
        cmocka_unit_test(what_does_not_fit_is_counted),
        cmocka_unit_test(many_sites_in_one_second),
        cmocka_unit_test(untrusted_text_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
