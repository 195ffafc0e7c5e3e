/* SPDX-License-Identifier: Apache-2.0 */
/* InitProducerId without a transactional id: a fresh id, epoch 0, at each call (KIP-98). */
#include "wire/init_producer_id.h"
#include "broker/handlers/handler.h"

static void id_answer(struct request *request, enum status status, int64_t id)
{
    struct init_producer_id_response out;
    init_producer_id_response_init(&out);
    out.error_code = status_code(status);
    out.producer_id = status == STATUS_OK ? id : -1;
    out.producer_epoch = status == STATUS_OK ? 0 : -1;
    init_producer_id_response_encode(request_reply(request), request->version, &out);
    request_finish(request);
}

/* After a wait: others may have used the block up already, then this one waits again. */
static void id_retry(struct request *request)
{
    struct core *core = request->core;
    int64_t id;
    if (producer_ids_take(&core->producer_ids, &id)) {
        id_answer(request, STATUS_OK, id);
    } else if (producer_ids_status(&core->producer_ids) != STATUS_OK) {
        /* Retriable: the disk may have space again. */
        id_answer(request, STATUS_COORDINATOR_NOT_AVAILABLE, -1);
    } else {
        producer_ids_wait(core, request, id_retry);
    }
}

void handle_init_producer_id(struct request *request)
{
    struct init_producer_id_request in;
    if (!REQUEST_DECODE(request, init_producer_id_request_decode, &in)) {
        return;
    }
    if (in.transactional_id.data != NULL) {
        /* FindCoordinator has said that there is none; this is for those who did not ask. */
        id_answer(request,
                  in.transactional_id.size == 0 ? STATUS_INVALID_REQUEST
                                                : STATUS_COORDINATOR_NOT_AVAILABLE,
                  -1);
        return;
    }
    int64_t id;
    if (producer_ids_take(&request->core->producer_ids, &id)) {
        id_answer(request, STATUS_OK, id);
    } else {
        producer_ids_wait(request->core, request, id_retry);
    }
}
