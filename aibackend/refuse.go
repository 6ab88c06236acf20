package aibackend

import "github.com/fairway-ai/fairway/aibackend/chat"

// Refuse renders e for a client that called path, with or without a query. It is for
// refusals of others on the way to a provider, so that they look like this package's.
func Refuse(path string, e *chat.Error) *Error {
	a, _ := apiOf(path)
	return render(a.client, e)
}
