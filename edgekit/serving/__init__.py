"""A language model behind the OpenAI protocol, on this machine, for the apps that speak it."""
