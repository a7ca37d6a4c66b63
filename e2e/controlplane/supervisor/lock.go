package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPatience covers a passer-by who holds the lock for an instant only to see whether it is free.
const lockPatience = 2 * time.Second

// endPatience is how long the processes of a control plane may take to be gone.
const endPatience = 30 * time.Second

var errHeld = errors.New("held by another process")

// lockDir takes the lock whose being held is the proof that this instance is alive; a process id could be reused.
func lockDir(dir string) (*os.File, error) {
	lock, err := waitForLock(dir, lockPatience)
	if err != nil {
		return nil, fmt.Errorf("another supervisor runs in %s: %w", dir, err)
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	return lock, os.WriteFile(filepath.Join(dir, "supervisor.pid"), []byte(pid), 0o644)
}

// end tells the supervisor in dir to end, if there is one, and returns when the lock is free.
func end(dir string) error {
	lock, err := waitForLock(dir, 0)
	if err == nil {
		return lock.Close()
	}
	if !errors.Is(err, errHeld) {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "supervisor.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("supervisor.pid: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending process %d: %w", pid, err)
	}
	lock, err = waitForLock(dir, endPatience)
	if err != nil {
		return fmt.Errorf("process %d was told to end: %w", pid, err)
	}
	return lock.Close()
}

func waitForLock(dir string, patience time.Duration) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "supervisor.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return lock, nil
		}
		if time.Now().After(deadline) {
			_ = lock.Close()
			return nil, fmt.Errorf("supervisor.lock: %w (%w)", errHeld, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
