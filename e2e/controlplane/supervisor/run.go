package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a component may take to end after SIGTERM before it is killed.
const stopGrace = 10 * time.Second

// plan says what may be started. Nothing starts before it is asked for.
type plan struct {
	Components []*component `json:"components"`
	// Scratch are names in the directory that are worthless once the processes are gone (etcd's data).
	Scratch []string `json:"scratch"`
}

type component struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	// Env is added to the environment, as NAME=VALUE.
	Env []string `json:"env"`
	// Guest may end on its own without taking the control plane with it.
	Guest bool `json:"guest"`
	// StartAgain a process that aborts itself, as a kubelet does with a container that ends. Whatever was asked to
	// end stays ended.
	StartAgain bool `json:"startAgain"`

	cmd *exec.Cmd
	// done is closed when the process has been reaped.
	done chan struct{}
	// ending says that the end of the process was asked for.
	ending bool
}

type supervisor struct {
	dir   string
	plan  plan
	exits chan exit
	// detached means that the end of stdin is no longer the end of the parent's interest.
	detached bool
}

// exit is one process that ended; cmd tells it from a later process of the same component.
type exit struct {
	component *component
	cmd       *exec.Cmd
	err       error
}

var errQuit = errors.New("told to quit")

func run(dir string) error {
	// Terminal signals are for whoever talks to us, and a vanished reader of our answers is noticed on stdin.
	if _, err := syscall.Setsid(); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("starting a session: %w", err)
	}
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)

	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close() // at the very end: a free lock says that everything is gone

	s := &supervisor{dir: dir, exits: make(chan exit, 64)}
	text, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.plan); err != nil {
		return fmt.Errorf("plan.json: %w", err)
	}
	err = s.loop(terminate)
	s.killAll()
	if errors.Is(err, errQuit) {
		return nil
	}
	// Whoever waits for the components reads here why they are gone.
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "failed"), []byte(err.Error()+"\n"), 0o644))
}

func (s *supervisor) loop(terminate <-chan os.Signal) error {
	orders := make(chan string)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			orders <- lines.Text()
		}
		close(orders)
	}()
	for {
		select {
		case order, open := <-orders:
			if !open {
				if !s.detached {
					return errQuit
				}
				orders = nil // a nil channel never delivers again
				continue
			}
			err := s.obey(order)
			if errors.Is(err, errQuit) {
				return err
			}
			answer(err)
		case gone := <-s.exits:
			if err := s.ended(gone); err != nil {
				return err
			}
		case <-terminate:
			return errQuit
		}
	}
}

func answer(err error) {
	if err != nil {
		fmt.Println("error:", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Println("ok")
}

func (s *supervisor) obey(order string) error {
	verb, name, _ := strings.Cut(order, " ")
	switch verb {
	case "detach":
		s.detached = true
		return nil
	case "quit":
		return errQuit
	case "add":
		return s.add(name)
	}
	at := slices.IndexFunc(s.plan.Components, func(c *component) bool { return c.Name == name })
	if at < 0 {
		return fmt.Errorf("no component named %q", name)
	}
	c := s.plan.Components[at]
	switch verb {
	case "start":
		return s.start(c)
	case "stop":
		return s.stop(c, syscall.SIGTERM)
	case "kill":
		return s.stop(c, syscall.SIGKILL)
	case "pause":
		return signalRunning(c, syscall.SIGSTOP)
	case "cont":
		return signalRunning(c, syscall.SIGCONT)
	}
	return fmt.Errorf("unknown order %q", order)
}

// add makes a component known that the plan did not have; one of the same name that is not running is replaced.
func (s *supervisor) add(text string) error {
	c := &component{}
	if err := json.Unmarshal([]byte(text), c); err != nil {
		return err
	}
	at := slices.IndexFunc(s.plan.Components, func(old *component) bool { return old.Name == c.Name })
	switch {
	case at < 0:
		s.plan.Components = append(s.plan.Components, c)
	case s.plan.Components[at].cmd != nil:
		return fmt.Errorf("%s is running already", c.Name)
	default:
		s.plan.Components[at] = c
	}
	return nil
}

func (s *supervisor) start(c *component) error {
	if c.cmd != nil {
		return fmt.Errorf("%s is running already", c.Name)
	}
	// Appended to: a component that is started again continues its log.
	log, err := os.OpenFile(filepath.Join(s.dir, c.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	// Not the user's home: kwok and kubectl read settings there.
	cmd.Env = append(append(os.Environ(), "HOME="+s.dir), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd, c.done, c.ending = cmd, make(chan struct{}), false
	go func(done chan struct{}) {
		err := cmd.Wait()
		close(done)
		s.exits <- exit{component: c, cmd: cmd, err: err}
	}(c.done)
	return os.WriteFile(s.pidFile(c), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644)
}

func (s *supervisor) stop(c *component, sig syscall.Signal) error {
	if c.cmd == nil {
		return fmt.Errorf("%s is not running", c.Name)
	}
	c.ending = true
	// A stopped process acts on SIGTERM only when it is continued.
	_ = c.cmd.Process.Signal(sig)
	_ = c.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-c.done:
	case <-time.After(stopGrace):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	s.forget(c)
	return nil
}

func signalRunning(c *component, sig syscall.Signal) error {
	if c.cmd == nil {
		return fmt.Errorf("%s is not running", c.Name)
	}
	return c.cmd.Process.Signal(sig)
}

// ended turns the end of a component that nobody asked for into the end of all: half a control plane only confuses.
func (s *supervisor) ended(gone exit) error {
	c := gone.component
	if c.cmd != gone.cmd || c.ending {
		return nil
	}
	s.forget(c)
	reason := "exit status 0"
	if gone.err != nil {
		reason = gone.err.Error()
	}
	if c.Guest {
		fmt.Fprintf(os.Stderr, "%s ended on its own (%s)\n", c.Name, reason)
		if c.StartAgain && aborted(gone.err) {
			return s.start(c)
		}
		return nil
	}
	return fmt.Errorf("%s ended on its own (%s); see %s.log", c.Name, reason, filepath.Join(s.dir, c.Name))
}

func aborted(err error) bool {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return false
	}
	status, ok := ended.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGABRT
}

func (s *supervisor) forget(c *component) {
	c.cmd = nil
	_ = os.Remove(s.pidFile(c))
}

func (s *supervisor) pidFile(c *component) string { return filepath.Join(s.dir, c.Name+".pid") }

// killAll does not ask politely: everything the components keep is thrown away right after.
func (s *supervisor) killAll() {
	for _, c := range slices.Backward(s.plan.Components) {
		if c.cmd != nil {
			c.ending = true
			_ = c.cmd.Process.Kill()
		}
	}
	for _, c := range s.plan.Components {
		if c.cmd != nil {
			<-c.done
			s.forget(c)
		}
	}
	for _, name := range s.plan.Scratch {
		_ = os.RemoveAll(filepath.Join(s.dir, name))
	}
}
