/* The KV-block interface: blocks of a paged key-value cache to slots of a slab of pages and back, on the host.
 *
 * A plane is K or V of one layer of the cache; a block of it is [tokens, heads, head_size] elements at any strides and
 * becomes one stream. A move takes one block, on all planes, to or from one slot; the streams of a slot lie packed at
 * multiples of CUSZP_KV_ALIGNMENT bytes on its pages. Stored form of a stream, the same on host and device:
 *
 *   kept tokens, elements in (token, head, channel) order || ceil(n / 32) metadata bytes || payload
 *
 * where metadata and payload are the cuSZp stream, without its padding, of the n values of the other tokens, in the
 * plane's layout; or all elements as they are, in (token, head, channel) order, where that would not be longer, where
 * the bound is unusable or where a value breaks the plane's limit. The bytes up to the alignment are zero.
 */
#ifndef CUSZP_CUSZP_KV_H
#define CUSZP_CUSZP_KV_H

#include "cuszp/cuszp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CUSZP_KV_ALIGNMENT = 16 };

typedef enum cuszp_kv_dtype {
  CUSZP_KV_F32 = CUSZP_F32,
  CUSZP_KV_BF16 = CUSZP_BF16,
  CUSZP_KV_F16 = CUSZP_F16,
  CUSZP_KV_U8 = 3 /* elements of one byte, which are stored raw whatever the plane's form */
} cuszp_kv_dtype;

typedef enum cuszp_kv_form {
  CUSZP_KV_FORM_FIXED = CUSZP_MODE_FIXED,
  CUSZP_KV_FORM_PLAIN = CUSZP_MODE_PLAIN,
  CUSZP_KV_FORM_OUTLIER = CUSZP_MODE_OUTLIER,
  CUSZP_KV_FORM_RAW = 3
} cuszp_kv_form;

/* The order in which the codec sees a block. */
typedef enum cuszp_kv_layout {
  CUSZP_KV_LAYOUT_THD = 0, /* token, head, channel */
  CUSZP_KV_LAYOUT_HDT = 1  /* head, channel, token */
} cuszp_kv_layout;

typedef struct cuszp_kv_plane {
  void* values;         /* block 0's first element; any alignment (rows of 16-byte aligned chunks are fast) */
  int64_t block_stride; /* in elements, as the next two; channels lie side by side */
  int64_t token_stride;
  int64_t head_stride;
  const float* means; /* heads * head_size, subtracted before quantising and added after decoding, both in float32;
                         null: none */
  uint32_t tokens;    /* of a block */
  uint32_t heads;
  uint32_t head_size;
  uint32_t form;     /* a cuszp_kv_form */
  uint32_t layout;   /* a cuszp_kv_layout */
  float error_bound; /* absolute, to quantise with; not finite or not > 0: raw */
  float limit;       /* largest |x - x'| allowed: exact difference of two float32 values, the element widened and its
                        decoded value before a cast to 16 bits; a stream that breaks it (NaN and infinities do) is stored
                        raw. Infinite or not > 0: unchecked */
  uint32_t reserved; /* 0 */
} cuszp_kv_plane;

typedef struct cuszp_kv_move {
  int64_t block;
  uint32_t slot;       /* index into the call's slots */
  uint32_t keep_first; /* tokens at the front that are stored as they are; more than there are: all */
} cuszp_kv_move;

typedef struct cuszp_kv_slot {
  uint32_t first_page; /* index into page_numbers */
  uint32_t page_count;
} cuszp_kv_slot;

/* What store writes and load reads, one a move and plane, move-major. */
typedef struct cuszp_kv_stream {
  uint32_t offset; /* in the slot, a multiple of CUSZP_KV_ALIGNMENT */
  uint32_t stored_bytes;
  uint32_t checksum; /* 0 when not asked for */
  uint16_t status;   /* a cuszp_status: CUSZP_OK, CUSZP_OUTPUT_TOO_SMALL (nothing stored, offset 0, stored_bytes what it
                        would have taken), CUSZP_INVALID_ARGUMENT (a plane or move that makes no sense) or
                        CUSZP_TOO_LARGE */
  uint16_t stored_raw;
} cuszp_kv_stream;

typedef struct cuszp_kv_call {
  const cuszp_kv_plane* planes;
  const cuszp_kv_move* moves;
  const cuszp_kv_slot* slots;
  const uint32_t* page_numbers; /* page p of slot s is page number page_numbers[slots[s].first_page + p] of the slab */
  void* slab;                   /* 16-byte aligned */
  uint64_t page_bytes;          /* power of two, at least 256 */
  uint32_t plane_count;
  uint32_t move_count;
  uint32_t slot_count;
  uint32_t dtype; /* a cuszp_kv_dtype */
} cuszp_kv_call;

/* The elements of a block, 0 where a plane makes no sense (too many elements among it: 2^28 and more). */
uint64_t cuszp_kv_block_elements(const cuszp_kv_plane* plane);

/* Stores every move's block of every plane. Streams take their places in the order of `streams`. A slot as large as its
 * streams' elements, each stream rounded up to the alignment, always suffices.
 * cursors: one a slot, the bytes used so far (0 at first); grow by each stream's rounded bytes, also when it no longer
 * fits. with_checksum: 0 or 1. threads: 0 = one a core. streams: plane_count * move_count.
 * Returns CUSZP_OK when every stream has its status. */
cuszp_status cuszp_kv_store(const cuszp_kv_call* call, uint64_t* cursors, int with_checksum, unsigned threads,
                            cuszp_kv_stream* streams);

/* The inverse. Total: any bytes in the pages and any `streams` give statuses, never an access outside the slots' pages
 * and the blocks' values. A stream whose status is not CUSZP_OK gets that status and its block is left alone; after any
 * other failure what a block holds is unspecified.
 * statuses: plane_count * move_count cuszp_status; CUSZP_CHECKSUM_MISMATCH comes before any other finding about the
 * bytes. with_checksum: 1 verifies streams that were stored so. */
cuszp_status cuszp_kv_load(const cuszp_kv_call* call, const cuszp_kv_stream* streams, int with_checksum,
                           unsigned threads, uint32_t* statuses);

#ifdef __cplusplus
}
#endif

#endif /* CUSZP_CUSZP_KV_H */
