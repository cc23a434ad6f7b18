// Answers chat completions as vLLM does, on a schedule, and logs when it really did so. One thread, Linux.
//   server CHUNKS INTERVAL_US TTFT_US LOCKSTEP     prints its port; LOCKSTEP 1: all streams emit at common ticks.
// GET /log: one line a request: id, and when it was read, first and last written, in ns of the system's clock. GET /reset.
// Every stream has the same interval, so whoever is due next stands at the head of one of two queues: no timers needed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef long long ns;
typedef struct connection {
    int fd, in_use, out_use, out_size, sent, streamed, closing, queued;
    char in[1 << 16], *out;
    ns due;
    long id;
    struct connection *next;
} connection;
typedef struct { connection *head, **tail; } queue;
typedef struct { ns read, first, last; } entry;

static int poller, chunks, lockstep;
static ns interval, ttft;
static queue beginning, going = {0};
static entry *journal;
static long logged, room;
static char head[512], piece[512], last[2048];
static int head_size, piece_size, last_size;

static ns now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void watch(connection *c, int how, unsigned events) {
    struct epoll_event e = {events, {.ptr = c}};
    epoll_ctl(poller, how, c->fd, &e);
}

static void put(connection *c, const char *data, int size) {
    int done = 0;
    if (!c->out_use) {
        done = send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0) {
            if (errno != EAGAIN) c->closing = 1;
            done = 0;
        }
    }
    if (done == size || c->closing) return;
    if (c->out_use + size - done > c->out_size) c->out = realloc(c->out, c->out_size = 2 * (c->out_use + size));
    memcpy(c->out + c->out_use, data + done, size - done);
    c->out_use += size - done;
    watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void reply(connection *c, const char *type, const char *body, int size) {
    char *all = malloc(size + 256);
    int n = sprintf(all, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n", type, size);
    memcpy(all + n, body, size);
    put(c, all, n + size);
    free(all);
}

static int framed(char *to, const char *json) {  // one SSE event as one HTTP chunk
    return sprintf(to, "%x\r\ndata: %s\n\n\r\n", (unsigned)strlen(json) + 8, json);
}

#define TOP "{\"id\":\"chatcmpl-%012ld\",\"object\":\"chat.completion.chunk\",\"created\":1795375144,\"model\":\"m\",\"choices\":"
#define USAGE "\"usage\":{\"prompt_tokens\":20,\"total_tokens\":%d,\"completion_tokens\":%d},\"metrics\":{\"speculative_decoding\":{" \
    "\"mean_acceptance_length\":2.0,\"draft_acceptance_rate\":0.3333,\"acceptance_histogram\":[0,%d,0,0],\"num_spec_steps\":%d," \
    "\"num_accepted_draft_tokens\":%d,\"num_draft_tokens\":%d,\"num_spec_tokens\":3}}}"
#define COUNTS 20 + 2 * chunks, 2 * chunks, chunks, chunks, chunks, 3 * chunks

static void write_texts(long id) {
    char json[2048];
    sprintf(json, TOP "[{\"index\":0,\"delta\":{\"content\":\" some words\"},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}]}", id);
    piece_size = framed(piece, json);
    sprintf(json, TOP "[{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"length\",\"token_ids\":null}]}", id);
    last_size = framed(last, json);
    sprintf(json, TOP "[]," USAGE, id, COUNTS);
    last_size += framed(last + last_size, json);
    last_size += sprintf(last + last_size, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
}

static void join(queue *q, connection *c) {
    c->next = 0;
    c->queued = 1;
    *(q->head ? q->tail : &q->head) = c;
    q->tail = &c->next;
}

static void emit(connection *c) {  // what is due: the first chunk with the head, a further one, or a whole answer
    entry *e = &journal[c->id];
    ns t = now();
    if (!c->sent) e->first = t;
    if (!c->streamed) {
        char *body = malloc(chunks * 11 + 2048);
        int n = sprintf(body, "{\"id\":\"chatcmpl-%012ld\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"", c->id);
        for (int i = 0; i < chunks; i++) n += sprintf(body + n, " some words");
        n += sprintf(body + n, "\"},\"finish_reason\":\"length\"}]," USAGE, COUNTS);
        e->last = t;
        reply(c, "application/json", body, n);
        free(body);
        return;
    }
    write_texts(c->id);
    char *all = malloc(head_size + last_size + (interval ? 1 : chunks) * piece_size);
    int n = 0;
    if (!c->sent) memcpy(all, head, n = head_size);
    do {
        memcpy(all + n, piece, piece_size);
        n += piece_size;
    } while (++c->sent < chunks && !interval);
    if (c->sent == chunks) {
        memcpy(all + n, last, last_size);
        n += last_size;
        e->last = t;
    }
    put(c, all, n);
    free(all);
    if (c->sent < chunks && !c->closing) {
        c->due += interval;
        join(&going, c);
    }
}

static void chat(connection *c, const char *body) {
    if (logged == room) journal = realloc(journal, (room = room ? 2 * room : 1 << 16) * sizeof(entry));
    c->id = logged++;
    c->sent = 0;
    c->streamed = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
    ns t = journal[c->id].read = now();
    c->due = t + ttft + (c->streamed ? 0 : (chunks - 1) * interval);
    if (lockstep && interval) c->due = (c->due / interval + 1) * interval;
    if (c->due <= t) emit(c);
    else join(&beginning, c);
}

static void metrics(connection *c) {
    char m[4096];
    const char *label = "{engine=\"0\",model_name=\"m\"}";
    long drafts = logged * chunks;
    int n = 0;
    struct { const char *name; long value; } all[] = {
        {"vllm:spec_decode_num_drafts_total", drafts}, {"vllm:spec_decode_num_draft_tokens_total", 3 * drafts},
        {"vllm:spec_decode_num_accepted_tokens_total", drafts}, {"vllm:generation_tokens_total", 2 * drafts},
        {"vllm:prompt_tokens_total", 20 * logged}};
    for (int i = 0; i < 5; i++) n += sprintf(m + n, "# TYPE %s counter\n%s%s %ld\n", all[i].name, all[i].name, label, all[i].value);
    n += sprintf(m + n, "# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter\n");
    for (int i = 0; i < 3; i++) n += sprintf(m + n, "vllm:spec_decode_num_accepted_tokens_per_pos_total{engine=\"0\",model_name=\"m\",position=\"%d\"} %ld\n", i, i ? 0 : drafts);
    n += sprintf(m + n, "# TYPE vllm:request_success_total counter\nvllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"} %ld\n", logged);
    n += sprintf(m + n, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running%s 0\n# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting%s 0\n", label, label);
    reply(c, "text/plain; version=0.0.4", m, n);
}

static void answer(connection *c, const char *request, const char *body) {
    static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"owned_by\":\"vllm\",\"root\":\"m\",\"max_model_len\":100000}]}";
    static const char missing[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
    if (!strncmp(request, "POST", 4) && strstr(request, "chat/completions")) chat(c, body);
    else if (!strncmp(request, "GET /metrics", 12)) metrics(c);
    else if (!strncmp(request, "GET /v1/models", 14)) reply(c, "application/json", models, sizeof models - 1);
    else if (!strncmp(request, "GET /version", 12)) reply(c, "application/json", "{\"version\":\"0.29.0\"}", 20);
    else if (!strncmp(request, "GET /health", 11)) reply(c, "application/json", "{}", 2);
    else if (!strncmp(request, "GET /reset", 10)) { logged = 0; reply(c, "text/plain", "ok", 2); }
    else if (!strncmp(request, "GET /log", 8)) {
        char *text = malloc(logged * 96 + 1);
        int n = 0;
        for (long i = 0; i < logged; i++) n += sprintf(text + n, "%ld %lld %lld %lld\n", i, journal[i].read, journal[i].first, journal[i].last);
        reply(c, "text/plain", text, n);
        free(text);
    } else put(c, missing, sizeof missing - 1);
}

static void requests(connection *c) {  // all that have come whole
    char *end;
    c->in[c->in_use] = 0;
    while (!c->closing && (end = strstr(c->in, "\r\n\r\n"))) {
        char *field = strcasestr(c->in, "\r\ncontent-length:");
        int size = end + 4 - c->in + (field && field < end ? atoi(field + 17) : 0);
        if (c->in_use < size) return;
        *end = 0;
        char kept = c->in[size];
        c->in[size] = 0;
        answer(c, c->in, end + 4);
        c->in[size] = kept;
        memmove(c->in, c->in + size, c->in_use - size + 1);
        c->in_use -= size;
    }
}

static void serve(queue *q) {  // everything of a queue that is due
    while (q->head && q->head->due <= now()) {
        connection *c = q->head;
        q->head = c->next;
        c->queued = 0;
        if (!c->closing) emit(c);
        if (c->closing && !c->queued) { close(c->fd); free(c->out); free(c); }
    }
}

int main(int count, char **args) {
    if (count < 5) return 2;
    chunks = atoi(args[1]), interval = atoll(args[2]) * 1000, ttft = atoll(args[3]) * 1000, lockstep = atoi(args[4]);
    head_size = sprintf(head, "HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2026 08:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 8192)) return perror("server"), 2;
    getsockname(listener, (void *)&address, &size);
    poller = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.ptr = 0}}, ready[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        serve(&beginning);
        serve(&going);
        ns wait = 1000000000LL, t = now();
        if (beginning.head && beginning.head->due - t < wait) wait = beginning.head->due - t;
        if (going.head && going.head->due - t < wait) wait = going.head->due - t;
        if (wait < 0) wait = 0;
        struct timespec limit = {wait / 1000000000, wait % 1000000000};
        int n = epoll_pwait2(poller, ready, 512, &limit, 0);
        for (int i = 0; i < n; i++) {
            connection *c = ready[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    c = calloc(1, sizeof *c);
                    c->fd = fd;
                    watch(c, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            if (ready[i].events & EPOLLOUT && c->out_use) {
                int done = send(c->fd, c->out, c->out_use, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (done > 0) memmove(c->out, c->out + done, c->out_use -= done);
                if (!c->out_use) watch(c, EPOLL_CTL_MOD, EPOLLIN);
            }
            if (ready[i].events & ~EPOLLOUT) {
                int got = recv(c->fd, c->in + c->in_use, sizeof c->in - 1 - c->in_use, MSG_DONTWAIT);
                if (got > 0) c->in_use += got, requests(c);
                else if (!got || errno != EAGAIN) c->closing = 1;
            }
            if (c->closing) {
                epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, 0);
                if (!c->queued) { close(c->fd); free(c->out); free(c); }
            }
        }
    }
}
