"""Machinery: knows vendors, knows nothing about journeys.

Law: nothing here mentions a journey, a step or an execution; everything here could serve another product.
"""
