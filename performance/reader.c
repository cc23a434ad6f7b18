// The floor for any client: reads streams in C, notes when each read came, and does nothing else with them.
//   reader PORT STREAMS REQUESTS STREAMED     prints answers, chunks, seconds of CPU and of time as JSON.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct { int fd, use, size, reads; char *in; double at[4096]; } stream;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int whole(stream *s, int streamed) {
    if (streamed) return s->use > 5 && !memcmp(s->in + s->use - 5, "0\r\n\r\n", 5);
    char *end = memmem(s->in, s->use, "\r\n\r\n", 4), *field = memmem(s->in, s->use, "content-length:", 15);
    return end && field && s->use >= end + 4 - s->in + atoi(field + 15);
}

int main(int count, char **args) {
    if (count < 5) return 2;
    int port = atoi(args[1]), streams = atoi(args[2]), requests = atoi(args[3]), streamed = atoi(args[4]), one = 1;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    char request[1024], body[256];
    int n = sprintf(body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":400,\"stream\":%s}", streamed ? "true" : "false");
    n = sprintf(request, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
    int poller = epoll_create1(0), sent = 0, done = 0;
    long chunks = 0;
    stream *all = calloc(streams, sizeof *all);
    double began = now();
    for (stream *s = all; s < all + streams; s++) {
        struct sockaddr_in to = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
        s->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(s->fd, (void *)&to, sizeof to)) return perror("reader"), 2;
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        s->in = malloc(s->size = 1 << 17);
        struct epoll_event e = {EPOLLIN, {.ptr = s}};
        epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e);
    }
    for (stream *s = all; s < all + streams && sent < requests; s++, sent++) send(s->fd, request, n, 0);
    struct epoll_event ready[512];
    while (done < requests) {
        int events = epoll_wait(poller, ready, 512, -1);
        for (int i = 0; i < events; i++) {
            stream *s = ready[i].data.ptr;
            if (s->size - s->use < 1 << 16) s->in = realloc(s->in, s->size *= 2);
            int got = recv(s->fd, s->in + s->use, s->size - s->use, 0);
            if (got <= 0) return fprintf(stderr, "reader: closed\n"), 3;
            if (s->reads < 4096) s->at[s->reads++] = now();
            for (char *p = s->in + s->use, *end = p + got; (p = memmem(p, end - p, "\ndata: ", 7)); p += 7) chunks++;
            s->use += got;
            if (!whole(s, streamed)) continue;
            done++;
            s->use = s->reads = 0;
            if (sent < requests) send(s->fd, request, n, 0), sent++;
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("{\"answers\": %d, \"chunks\": %ld, \"cpu\": %.6f, \"wall\": %.6f}\n", done, chunks, cpu, now() - began);
}
