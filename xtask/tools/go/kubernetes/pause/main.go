// What is in the only image that a fresh node has. Without arguments it holds the namespaces of a pod, or of the
// node itself: it waits, and reaps what is left to it. With arguments it shows from within a pod that the
// cluster works:
//
//	pause lookup NAME     ends well when the name has an address
//	pause serve ADDRESS   answers every HTTP request with 200 and the host's name
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 1:
		wait()
	case len(os.Args) == 3 && os.Args[1] == "lookup":
		err = lookup(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	default:
		err = fmt.Errorf("usage: pause [lookup NAME | serve ADDRESS]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func wait() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for got := range signals {
		if got != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

func lookup(name string) error {
	ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	fmt.Println(addresses)
	return err
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go answer(connection, host)
	}
}

func answer(connection net.Conn, host string) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := connection.Read(make([]byte, 4096)); err != nil {
		return
	}
	fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(host), host)
}
