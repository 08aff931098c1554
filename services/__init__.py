"""The services of Adaptive Journeys: authoring, runtime, analytics, over a shared domain and shared machinery."""
