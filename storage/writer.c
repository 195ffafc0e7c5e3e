/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/writer.h"

#include "base/check.h"
#include "storage/store_state.h"

void writer_build(struct store *store, struct write *write)
{
    static void (*const builds[])(struct store *, struct write *) = {
        [WRITER_ALIGNED] = writer_aligned_build,
        [WRITER_DIRECT] = writer_direct_build,
        [WRITER_BUFFERED] = writer_buffered_build,
    };
    check((size_t)store->writer < ARRAY_COUNT(builds));
    builds[store->writer](store, write);
}
