// The process of a pod's sandbox: holds the namespaces, reaps what the pod's containers orphan, ends when told to.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(int signal) {
  (void)signal;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  signal(SIGCHLD, reap);
  signal(SIGTERM, end);
  signal(SIGINT, end);
  for (;;) {
    pause();
  }
}
