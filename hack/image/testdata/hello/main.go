// Command hello stands for Fairway where a test compiles for real.
package main

var version = "unset"

func main() { println(version) }
