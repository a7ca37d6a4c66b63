// Command supervisor owns the processes of one control plane: nothing it started outlives it, and it does not
// outlive its parent. It also makes what the processes need: certificates and kubeconfigs.
//
// It is Go, and a process of its own, because "die with your parent" is a property of the thread that forks
// (PR_SET_PDEATHSIG), and because Go's standard library makes certificates.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

const usage = `usage:
  supervisor run DIR                                        run DIR/plan.json; orders come as lines on stdin
  supervisor pki DIR                                        write a CA, serving and service account keys to DIR
  supervisor kubeconfig PKI URL OUT user NAME [GROUP...]    write a kubeconfig with a new client certificate
  supervisor kubeconfig PKI URL OUT token NAME              the same with a bearer token, read from stdin
  supervisor end DIR                                        end what runs in DIR, and wait until it is gone
  supervisor wait KUBECONFIG|- URL|PATH TIMEOUT             wait until a GET answers 200`

// The main thread must be the one that forks and must live as long as the process: the kernel sends a component its
// parent-death signal when the thread that forked it ends.
func init() { runtime.LockOSThread() }

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		os.Exit(1)
	}
}

func dispatch(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "run":
		return run(args[1])
	case len(args) == 2 && args[0] == "pki":
		return writePKI(args[1])
	case len(args) == 2 && args[0] == "end":
		return end(args[1])
	case len(args) >= 6 && args[0] == "kubeconfig":
		return writeKubeconfig(args[1], args[2], args[3], args[4], args[5], args[6:])
	case len(args) == 4 && args[0] == "wait":
		return wait(args[1], args[2], args[3])
	}
	return errors.New(usage)
}
